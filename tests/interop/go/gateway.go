package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/cloudflare/circl/hpke"
	"github.com/openpcc/bhttp"
	"github.com/openpcc/ohttp"
	encoding "github.com/openpcc/ohttp/encoding/bhttp"
)

const (
	keyID          = 1
	instantContent = 400   // octets
	chunkSize      = 16384 // octets that a receiver must take; the package's default is 4096
)

// How a request came, for the handler inside: so its answer goes back.
type delivery struct{}

func runGateway(listen string, kem hpke.KEM, seed []byte, instant bool) error {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the package logs every request
	handler, err := handlerFor(kem, seed, instant)
	if err != nil {
		return err
	}
	listener, err := listenAt(listen)
	if err != nil {
		return err
	}
	address := listen
	if listener.Addr().Network() == "tcp" {
		address = "tcp://" + listener.Addr().String()
	}
	ready := map[string]string{"event": "ready", "listen": address}
	if err := json.NewEncoder(os.Stderr).Encode(ready); err != nil {
		return err
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, handler) }()
	select {
	case <-ends:
		return nil
	case err := <-failed:
		return err
	}
}

func listenAt(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", strings.TrimPrefix(address, "tcp://"))
}

func handlerFor(kem hpke.KEM, seed []byte, instant bool) (http.Handler, error) {
	pair := pairFrom(kem, seed)
	keys, err := ohttp.KeyConfigs{pair.KeyConfig}.MarshalBinary()
	if err != nil {
		return nil, err
	}
	decoder, err := decoderFor()
	if err != nil {
		return nil, err
	}
	quiet := ohttp.WithErrorHandler(&ohttp.JSONProblemErrorHandler{})
	anyHost := ohttp.WithRequestValidator(nil)
	gateway, err := ohttp.NewGateway(pair, ohttp.WithRequestDecoder(decoder), quiet, anyHost)
	if err != nil {
		return nil, err
	}
	inner := echo
	if instant {
		inner = answerAtOnce
	}
	opening := ohttp.Middleware(gateway, http.HandlerFunc(inner))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "application/ohttp-keys")
			_, _ = w.Write(keys)
			return
		}
		came := context.WithValue(r.Context(), delivery{}, r.Header.Get("Content-Type"))
		opening.ServeHTTP(w, r.WithContext(came))
	}), nil
}

func pairFrom(kem hpke.KEM, seed []byte) ohttp.KeyPair {
	public, secret := kem.Scheme().DeriveKeyPair(seed)
	return ohttp.KeyPair{
		SecretKey: secret,
		KeyConfig: ohttp.KeyConfig{
			KeyID:     keyID,
			KemID:     kem,
			PublicKey: public,
			SymmetricAlgorithms: []ohttp.SymmetricAlgorithm{
				{KDFID: hpke.KDF_HKDF_SHA256, AEADID: hpke.AEAD_ChaCha20Poly1305},
				{KDFID: hpke.KDF_HKDF_SHA256, AEADID: hpke.AEAD_AES128GCM},
				{KDFID: hpke.KDF_HKDF_SHA256, AEADID: hpke.AEAD_AES256GCM},
			},
		},
	}
}

func decoderFor() (*encoding.RequestDecoder, error) {
	return encoding.NewRequestDecoder(
		encoding.MaxRequestChunkLen(chunkSize),
		encoding.WithCustomRequestDecoder(&bhttp.RequestDecoder{}),
	)
}

// A known length makes the package answer in one piece, a flush in chunks.
func echo(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Inner-Path", r.URL.RequestURI())
	if r.Context().Value(delivery{}) == ohttp.ChunkedRequestMediaType {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	}
	_, _ = w.Write(content)
}

func answerAtOnce(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(instantContent))
	_, _ = w.Write(bytes.Repeat([]byte("x"), instantContent))
}
