package store

import "strings"

// FileOf returns where the file for k lies, if there is one.
func FileOf(k *Key) File {
	hash := Hash(k.Provider, k.Path)
	return File{Folder: hash[:2], Name: k.name(hash)}
}

// Source returns the files of one source that are there. It reads one folder, and changes nothing.
func (s *Store) Source(provider, path string) (files []File, err error) {
	hash := Hash(provider, path)
	names, err := s.names(hash[:2])
	if err != nil || len(names) == 0 {
		return nil, err
	}
	f, err := openFolder(s.dir, hash[:2])
	if err != nil {
		return nil, err
	}
	defer f.close()
	for _, name := range names {
		if !strings.HasPrefix(name, hash) || !ourName.MatchString(name) {
			continue
		}
		if there, err := f.stat(name); err == nil && there.regular {
			files = append(files, File{hash[:2], name, there.size, there.modTime, strings.HasSuffix(name, ".tmp")})
		}
	}
	return files, nil
}
