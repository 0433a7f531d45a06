package main

import (
	"bytes"
	"embed"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/disintegration/imaging"
)

//go:embed testdata/*.jpg
var testdata embed.FS

// names are the names of the two pictures, see testdata/README.md.
var names = []string{"dense", "ordinary"}

// edges are the edges of the sources made from them, in pixels.
var edges = []int{500, 1000, 1400, 3000}

// A source is an encoded picture.
type source struct {
	name        string
	edge        int
	progressive bool
	data        []byte
}

func (s source) String() string {
	if s.progressive {
		return fmt.Sprintf("%s %d progressive", s.name, s.edge)
	}
	return fmt.Sprintf("%s %d", s.name, s.edge)
}

// sources returns both pictures in every size as baseline JPEG of quality 90, and one size of each as progressive JPEG.
func sources() (all []source, err error) {
	for _, name := range names {
		large, err := testdata.ReadFile("testdata/" + name + "-3000.jpg")
		if err != nil {
			return nil, err
		}
		img, err := jpeg.Decode(bytes.NewReader(large))
		if err != nil {
			return nil, err
		}
		for _, edge := range edges {
			data := large
			if edge != 3000 {
				data = encode(imaging.Fit(img, edge, edge, imaging.Lanczos), 90)
			}
			all = append(all, source{name: name, edge: edge, data: data})
		}
		progressive, err := testdata.ReadFile("testdata/" + name + "-1400-progressive.jpg")
		if err != nil {
			return nil, err
		}
		all = append(all, source{name: name, edge: 1400, progressive: true, data: progressive})
	}
	return all, nil
}

func encode(img image.Image, quality int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: quality}); err != nil {
		panic(err) // a Buffer accepts everything
	}
	return b.Bytes()
}
