package edictdebug_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/edictdebug"
)

// The page is served beside others, behind whatever asks who may see it.
func ExampleHandler() {
	server := edict.NewServer(&receiver{}, edict.Commands(edict.Unary[hang]()), edict.ServerConfig{Name: "till 7"}, edict.WithLatencies())
	mux := http.NewServeMux()
	mux.Handle("/debug/edict/", edictdebug.Handler(server))
	web := httptest.NewServer(mux) // in a program: go http.ListenAndServe("127.0.0.1:6060", mux)
	defer web.Close()

	answer, err := http.Get(web.URL + "/debug/edict/json")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status, answer.Header.Get("Content-Type"))
	http.DefaultClient.CloseIdleConnections()
	// Output: 200 OK application/json
}
