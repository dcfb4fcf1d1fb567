package proxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
)

var (
	errUnreadable = errors.New("an unknown content coding")
	errTooLong    = errors.New("longer than the limit")
)

// readAnswer reads the upstream's answer of at most limit bytes, without its
// content coding. Compression was not asked for, but some servers do it anyway.
func readAnswer(res *http.Response, limit int) ([]byte, error) {
	body, length, err := decoded(res)
	if err != nil {
		return nil, err
	}
	return readAll(body, length, int64(limit))
}

// decoded returns the answer's body without its content coding, and how long
// it is, -1 if that is not known.
func decoded(res *http.Response) (body io.Reader, length int64, err error) {
	switch coding := contentCoding(res.Header); coding {
	case "", "identity":
		return res.Body, res.ContentLength, nil
	case "gzip", "x-gzip":
		body, err = gzip.NewReader(res.Body)
		return body, -1, err
	}
	return nil, 0, errUnreadable
}

func contentCoding(h http.Header) string {
	values := h["Content-Encoding"]
	if len(values) == 0 {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(strings.Join(values, ",")))
}

// claimed is how many bytes are set aside for a body before any of it has
// arrived: a call with 64 KiB of arguments fits.
const claimed = 72 << 10

// readAll reads one whole message of at most limit bytes, to its end; a longer
// one is errTooLong. length is what its sender says, not positive if nothing:
// then it is read into one buffer of that length, once the sender has shown
// that it has much to send.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, errTooLong
	}
	if length <= 0 {
		return readUnmeasured(r, limit)
	}
	b := make([]byte, min(length, claimed))
	n, err := io.ReadFull(r, b)
	if err == nil && length > claimed {
		b = append(make([]byte, 0, length), b...)[:length]
		var more int
		more, err = io.ReadFull(r, b[n:])
		n += more
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = atEnd(r)
	}
	return b[:n], err
}

// atEnd reads the end, by which the reader knows that nobody needs it any more.
func atEnd(r io.Reader) error {
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return errTooLong
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

func readUnmeasured(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(4 << 10)
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return b.Bytes(), err
	}
	if int64(b.Len()) > limit {
		return b.Bytes(), errTooLong
	}
	return b.Bytes(), nil
}
