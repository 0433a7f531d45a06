package webpenc

type alphaWriter struct{}

func (w *alphaWriter) append(dst []byte, alpha []byte, width int) []byte {
	return append(append(dst, 0), alpha...)
}

func alphaCost(w, h int) int64 { return 0 }
