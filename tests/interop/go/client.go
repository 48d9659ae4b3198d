package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/openpcc/bhttp"
	"github.com/openpcc/ohttp"
	encoding "github.com/openpcc/ohttp/encoding/bhttp"
)

const padding = 1024 // octets: messages are filled to a multiple of it

type testCase struct {
	URL      string       `json:"url"`
	Keys     string       `json:"keys"`
	Delivery string       `json:"delivery"`
	Form     string       `json:"form"`
	Request  innerRequest `json:"request"`
}

type innerRequest struct {
	Method    string      `json:"method"`
	Scheme    string      `json:"scheme"`
	Authority string      `json:"authority"`
	Path      string      `json:"path"`
	Headers   [][2]string `json:"headers"`
	Content   string      `json:"content"`
}

type opened struct {
	Status        int         `json:"status"`
	Headers       [][2]string `json:"headers"`
	Content       string      `json:"content"`
	Informational int         `json:"informational"`
}

var errNotOffered = errors.New("not offered")

// One JSON object per line is a request; one per line is written as its answer.
func runClient(in io.Reader, out io.Writer) error {
	cases := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var wanted testCase
		if err := cases.Decode(&wanted); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := answers.Encode(asked(wanted)); err != nil {
			return err
		}
	}
}

func asked(wanted testCase) any {
	answer, err := ask(wanted)
	var refused ohttp.ResponseStatusError
	switch {
	case errors.As(err, &refused):
		return map[string]int{"outer": refused.StatusCode}
	case err != nil:
		return map[string]string{"error": err.Error()}
	}
	return answer
}

func ask(wanted testCase) (*opened, error) {
	transport, err := transportFor(wanted)
	if err != nil {
		return nil, err
	}
	request, err := requestOf(wanted)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	answer := &opened{Status: response.StatusCode, Content: hex.EncodeToString(content)}
	for name, values := range response.Header {
		for _, value := range values {
			answer.Headers = append(answer.Headers, [2]string{name, value})
		}
	}
	return answer, nil
}

func transportFor(wanted testCase) (*ohttp.Transport, error) {
	data, err := hex.DecodeString(wanted.Keys)
	if err != nil {
		return nil, err
	}
	var configs ohttp.KeyConfigs
	if err := configs.UnmarshalBinary(data); err != nil {
		return nil, err
	}
	option, err := encoderFor(wanted)
	if err != nil {
		return nil, err
	}
	return ohttp.NewTransport(configs[0], wanted.URL, option)
}

// The package ties chunks to indeterminate length, and writes no truncated messages.
func encoderFor(wanted testCase) (ohttp.TransportOption, error) {
	var options []encoding.Option
	switch [2]string{wanted.Delivery, wanted.Form} {
	case [2]string{"whole", "known"}, [2]string{"chunked", "indeterminate"}:
	case [2]string{"whole", "padded"}:
		padded := &bhttp.RequestEncoder{PadToMultipleOf: padding}
		options = append(options, encoding.WithCustomRequestEncoder(padded))
	case [2]string{"chunked", "padded"}:
		options = append(options, encoding.FixedLengthRequestChunks())
	default:
		return nil, errNotOffered
	}
	encoder, err := encoding.NewRequestEncoder(options...)
	if err != nil {
		return nil, err
	}
	return ohttp.WithRequestEncoder(encoder), nil
}

func requestOf(wanted testCase) (*http.Request, error) {
	inner := wanted.Request
	content, err := hex.DecodeString(inner.Content)
	if err != nil {
		return nil, err
	}
	url := inner.Scheme + "://" + inner.Authority + inner.Path
	request, err := http.NewRequest(inner.Method, url, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if wanted.Delivery == "chunked" {
		request.Body = io.NopCloser(bytes.NewReader(content))
		request.ContentLength = -1
		request.TransferEncoding = []string{"chunked"}
	}
	for _, field := range inner.Headers {
		request.Header.Add(field[0], field[1])
	}
	return request, nil
}
