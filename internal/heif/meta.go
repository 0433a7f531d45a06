package heif

import (
	"context"
	"slices"
)

// readMeta reads the children of the meta box (ISO/IEC 14496-12, 8.11.1).
func (f *File) readMeta(ctx context.Context, meta box) error {
	found := make(map[string]box)
	err := f.src.boxes(ctx, meta.start+4, meta.end, func(b box) (bool, error) {
		if b.end > meta.end {
			return false, corrupt("%s is longer than what it is in", b.kind)
		}
		if _, ok := found[b.kind]; !ok { // the first one counts
			found[b.kind] = b
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	hdlr, err := f.src.load(ctx, found["hdlr"], 1024)
	if err != nil {
		return err
	}
	if len(hdlr) < 12 || string(hdlr[8:12]) != "pict" {
		return unsupported("no description of pictures")
	}
	f.idat = found["idat"]
	// The other boxes refer to items, so those come first.
	for _, list := range []struct {
		kind string
		read func(*cursor) error
	}{
		{"iinf", f.readIINF}, {"pitm", f.readPITM}, {"iloc", f.readILOC}, {"iref", f.readIREF},
	} {
		b, ok := found[list.kind]
		if !ok {
			continue
		}
		data, err := f.src.load(ctx, b, maxList)
		if err != nil {
			return err
		}
		if err := list.read(&cursor{data: data}); err != nil {
			return err
		}
	}
	if iprp, ok := found["iprp"]; ok {
		if err := f.readIPRP(ctx, iprp); err != nil {
			return err
		}
	}
	if f.items[f.primary] == nil {
		return corrupt("no primary item")
	}
	return nil
}

// readPITM reads the id of the primary item.
func (f *File) readPITM(c *cursor) error {
	version, _ := c.fullBox()
	f.primary = c.id(version > 0)
	return c.end("pitm")
}

// readIINF reads the list of items.
func (f *File) readIINF(c *cursor) error {
	version, _ := c.fullBox()
	n := c.id(version > 0)
	if n > maxItems {
		return corrupt("%d items", n)
	}
	for range n {
		size, kind := c.u32(), c.str(4)
		entry := cursor{data: c.bytes(int64(size) - 8)}
		if c.bad || kind != "infe" {
			return corrupt("iinf")
		}
		version, _ := entry.fullBox()
		if version < 2 { // items of MPEG-21, which have no type
			continue
		}
		it := &item{id: entry.id(version > 2)}
		it.inaccessible = entry.u16() != 0
		it.kind = entry.str(4)
		if err := entry.end("infe"); err != nil {
			return err
		}
		if f.items[it.id] != nil {
			return corrupt("two items have number %d", it.id)
		}
		f.items[it.id] = it
	}
	return nil
}

// readILOC reads the places of the data of items.
func (f *File) readILOC(c *cursor) error {
	version, _ := c.fullBox()
	if version > 2 {
		return unsupported("iloc of version %d", version)
	}
	sizes := c.u16()
	offsetSize, lengthSize, baseSize, indexSize := int(sizes>>12), int(sizes>>8&15), int(sizes>>4&15), int(sizes&15)
	if version == 0 {
		indexSize = 0
	}
	for _, size := range []int{offsetSize, lengthSize, baseSize, indexSize} {
		if size != 0 && size != 4 && size != 8 {
			return corrupt("iloc")
		}
	}
	n := c.id(version == 2)
	if n > maxItems {
		return corrupt("places of %d items", n)
	}
	total := 0
	for range n {
		id := c.id(version == 2)
		var method uint16
		if version > 0 {
			method = c.u16() & 15
		}
		elsewhere := c.u16() != 0
		base := c.number(baseSize)
		count := int(c.u16())
		if total += count; total > maxExtents {
			return corrupt("more than %d extents", maxExtents)
		}
		if c.bad {
			break
		}
		extents := make([]extent, 0, min(count, len(c.data)))
		for range count {
			c.number(indexSize)
			e := extent{offset: c.number(offsetSize), length: c.number(lengthSize)}
			if e.offset += base; e.offset < base {
				return corrupt("an item is beyond the file")
			}
			if c.bad {
				break
			}
			extents = append(extents, e)
		}
		if it := f.items[id]; it != nil && it.extents == nil {
			it.method, it.extents = method, extents
			it.inaccessible = it.inaccessible || elsewhere
		}
	}
	return c.end("iloc")
}

// readIREF reads the references between items.
func (f *File) readIREF(c *cursor) error {
	version, _ := c.fullBox()
	total := 0
	for len(c.data) > 0 {
		size, kind := c.u32(), c.str(4)
		entry := cursor{data: c.bytes(int64(size) - 8)}
		if c.bad {
			return corrupt("iref")
		}
		ref := reference{kind: kind, from: entry.id(version > 0)}
		n := int(entry.u16())
		if total += n + 1; total > maxReferences {
			return corrupt("more than %d references", maxReferences)
		}
		for range n {
			if entry.bad {
				break
			}
			ref.to = append(ref.to, entry.id(version > 0))
		}
		if err := entry.end("iref"); err != nil {
			return err
		}
		f.references = append(f.references, ref)
	}
	return nil
}

// readIPRP reads the list of properties, and the properties of each item.
func (f *File) readIPRP(ctx context.Context, iprp box) error {
	return f.src.boxes(ctx, iprp.start, iprp.end, func(b box) (bool, error) {
		if b.end > iprp.end {
			return false, corrupt("%s is longer than what it is in", b.kind)
		}
		switch b.kind {
		case "ipco":
			if f.properties != nil {
				return false, corrupt("two lists of properties")
			}
			return true, f.src.boxes(ctx, b.start, b.end, func(p box) (bool, error) {
				if p.end > b.end {
					return false, corrupt("%s is longer than what it is in", p.kind)
				}
				f.properties = append(f.properties, p)
				if len(f.properties) > maxProperties {
					return false, corrupt("more than %d properties", maxProperties)
				}
				return true, nil
			})
		case "ipma":
			data, err := f.src.load(ctx, b, maxList)
			if err != nil {
				return false, err
			}
			return true, f.readIPMA(&cursor{data: data})
		}
		return true, nil
	})
}

func (f *File) readIPMA(c *cursor) error {
	version, flags := c.fullBox()
	n := c.u32()
	if n > maxItems {
		return corrupt("properties of %d items", n)
	}
	for range n {
		id := c.id(version > 0)
		count := int(c.u8())
		if c.bad {
			break
		}
		if count > maxPerItem {
			return corrupt("%d properties of an item", count)
		}
		it := f.items[id]
		if it != nil && len(it.properties)+count > maxPerItem {
			return corrupt("more than %d properties of an item", maxPerItem)
		}
		for range count {
			var a association
			if flags&1 != 0 {
				v := c.u16()
				a = association{int(v & 0x7fff), v>>15 != 0}
			} else {
				v := c.u8()
				a = association{int(v & 0x7f), v>>7 != 0}
			}
			if it != nil && a.index != 0 {
				it.properties = append(it.properties, a)
			}
		}
	}
	return c.end("ipma")
}

// referring returns the items that have a reference of a kind to item id, in the order of the file.
func (f *File) referring(kind string, id uint32) []*item {
	var from []*item
	for _, ref := range f.references {
		if it := f.items[ref.from]; it != nil && ref.kind == kind && slices.Contains(ref.to, id) {
			from = append(from, it)
		}
	}
	return from
}

// inputs returns the items from which item id is derived.
func (f *File) inputs(id uint32) ([]*item, error) {
	for _, ref := range f.references {
		if ref.kind != "dimg" || ref.from != id {
			continue
		}
		if len(ref.to) > maxTiles {
			return nil, corrupt("%d tiles", len(ref.to))
		}
		items := make([]*item, len(ref.to))
		for i, to := range ref.to {
			if items[i] = f.items[to]; items[i] == nil || to == id {
				return nil, corrupt("item %d is missing", to)
			}
		}
		return items, nil
	}
	return nil, corrupt("nothing to derive item %d from", id)
}
