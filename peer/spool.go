package peer

import (
	"errors"
	"os"

	"headwater/tree"
)

// spool is where a large file waits, encrypted, in the directory for temporary files. The zero spool has no file.
type spool struct {
	file  *os.File
	named bool // it still has a name, on systems that do not let one remove what is open
}

// open makes the file. If it can be, it goes when it is closed, or when the process dies.
func (s *spool) open() (tree.Spool, error) {
	f, err := os.CreateTemp("", "headwater-spool-*")
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil Spool
	}
	s.file, s.named = f, os.Remove(f.Name()) != nil
	return f, nil
}

// remove closes the file, if there is one, and removes it.
func (s *spool) remove() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}
