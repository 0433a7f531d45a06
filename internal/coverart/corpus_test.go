package coverart

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const corpusDir = "../../../shared/corpus"

// readTable returns the rows of a table in dir by the names of the columns. It skips the test if there is none.
func readTable(t *testing.T, dir, name string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skip("no real files here: ", err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma = '\t'
	r.LazyQuotes = true
	records, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records[1:] {
		row := make(map[string]string)
		for i, value := range record {
			row[records[0][i]] = value
		}
		rows = append(rows, row)
	}
	return rows
}

// TestCorpus searches real files and compares the result with the manifest, which mutagen and ffmpeg made.
func TestCorpus(t *testing.T) {
	with, results := 0, make(map[string]int)
	for _, row := range readTable(t, corpusDir, "manifest.tsv") {
		name := row["file"]
		data, err := os.ReadFile(filepath.Join(corpusDir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		checkTime(t, name, data)
		pics, end := pictures(t, data)
		result := "picture"
		for _, sentinel := range []error{ErrNoPicture, ErrUnsupported, ErrCorrupt} {
			if len(pics) == 0 && errors.Is(end, sentinel) {
				result = sentinel.Error()
			}
		}
		results[result]++
		if row["has_art"] != "yes" {
			if len(pics) > 0 {
				t.Errorf("%s: %d pictures, want none", name, len(pics))
			}
			continue
		}
		with++
		if len(pics) == 0 {
			t.Errorf("%s: %v, want a picture", name, end)
			continue
		}
		if sum := sha256.Sum256(pics[0]); hex.EncodeToString(sum[:]) != row["pic_sha256"] {
			t.Errorf("%s: picture %x, want %s of %s", name, sum[:8], row["pic_sha256"], row["all_pics"])
		}
		checkAll(t, name, pics, row["all_pics"])
	}
	t.Logf("%d with a picture; %v", with, results)
}

// checkTime checks that Find needs at most 50 ms. It takes the best of three calls, since the machine may be busy.
func checkTime(t *testing.T, name string, data []byte) {
	t.Helper()
	const limit = 50 * time.Millisecond
	took := time.Hour
	for range 3 {
		r := bytes.NewReader(data)
		start := time.Now()
		Find(t.Context(), r, int64(len(data)))
		if took = min(took, time.Since(start)); took <= limit {
			return
		}
	}
	t.Errorf("%s: took %v", name, took)
}

// checkAll compares pics with a list of "hash:type:tool" that is separated by commas.
func checkAll(t *testing.T, name string, pics [][]byte, list string) {
	t.Helper()
	all := strings.Split(list, ",")
	if len(pics) != len(all) {
		t.Errorf("%s: %d pictures, want %s", name, len(pics), list)
	}
	for _, p := range pics {
		if sum := sha256.Sum256(p); !strings.Contains(list, hex.EncodeToString(sum[:8])) {
			t.Errorf("%s: picture %x, want one of %s", name, sum[:8], list)
		}
	}
}
