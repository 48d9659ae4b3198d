// A small reverse proxy on Go's standard library, for the bench: it neither seals nor signs.
//
//	reverse-proxy LISTEN UPSTREAM
//
// LISTEN is HOST:PORT, UPSTREAM a URL. Whatever comes is handed on at once.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	upstream, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(upstream) },
		FlushInterval: -1, // each event at once
		Transport:     &http.Transport{MaxIdleConnsPerHost: 512},
	}
	fmt.Printf("{\"event\": \"listening\", \"address\": \"tcp://%s\"}\n{\"event\": \"ready\"}\n", listener.Addr())
	log.Fatal(http.Serve(listener, proxy))
}
