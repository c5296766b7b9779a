package browsertest

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/edict-go/edict"
	"github.com/edict-go/edict/auth"
	"github.com/edict-go/edict/edictdebug"
	"github.com/edict-go/edict/transport"
)

// shop is the receiver of what the page shows.
type shop struct{}

type price struct{ Item string }

func (price) Exec(context.Context, *shop) (int, error) { return 42, nil }

// order takes some milliseconds, sometimes more.
type order struct{ Item string }

func (order) Exec(ctx context.Context, _ *shop) (int, error) {
	took := 2*time.Millisecond + time.Duration(rand.ExpFloat64()*float64(3*time.Millisecond))
	select {
	case <-time.After(took):
		return 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// pay takes as long as its caller allows; those of an account wait for each other.
type pay struct{ Account string }

func (p pay) OrderingKey() string { return p.Account }

func (pay) Exec(ctx context.Context, _ *shop) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

type refund struct{}

func (refund) Exec(context.Context, *shop) (int, error) {
	return 0, edict.Errorf(edict.FailedPrecondition, "the order was not paid")
}

type crash struct{}

func (crash) Exec(context.Context, *shop) (int, error) { panic("index out of range [3] with length 3") }

// watch streams until its caller leaves.
type watch struct{}

func (watch) Exec(_ context.Context, _ *shop, out edict.Sink[string]) error {
	for {
		if err := out.Send(strings.Repeat("w", 1000)); err != nil {
			return err
		}
	}
}

var commands = edict.Commands(edict.Unary[price](), edict.Unary[order](), edict.Unary[pay](), edict.Unary[refund](),
	edict.Unary[crash](), edict.ServerStream[watch]())

// startShop starts a server that is in use until the test ends, one of whose clients has an evil name.
func startShop(t *testing.T) *edict.Server {
	tokens, err := auth.StaticTokens(map[string]edict.Principal{"sesame-open": {Name: "till"}, "crook-open": {Name: "stock"}})
	if err != nil {
		t.Fatal(err)
	}
	server := edict.NewServer(&shop{}, commands, edict.WithLatencies(), edict.WithAuthenticator(tokens),
		edict.ServerConfig{Name: "shop-1"}, edict.WithLogger(slog.New(slog.DiscardHandler)))
	listener := transport.NewMemory()
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(listener) })
	ctx, cancel := context.WithCancel(t.Context())
	var clients []*edict.Client[*shop]
	t.Cleanup(func() {
		cancel()
		for _, client := range clients {
			_ = client.Close()
		}
		_ = server.Close()
		_ = server.Shutdown(context.Background())
		group.Wait()
	})
	dial := func(name, token string) *edict.Client[*shop] {
		client, err := edict.Dial(ctx, "shop", commands, edict.WithToken(token), edict.ClientConfig{Name: name},
			edict.WithDialer(func(ctx context.Context) (net.Conn, error) { return listener.Dial(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
		return client
	}
	till, stock := dial("till-4", "sesame-open"), dial(`<img src=x onerror=alert(1)>`, "crook-open")
	if _, err := edict.Dial(ctx, "shop", commands, edict.WithDialer(listener.Dial)); err == nil {
		t.Fatal("let in without a token")
	}
	for _, command := range []edict.Command[*shop, int]{crash{}, refund{}, refund{}} {
		_, _ = edict.Call(ctx, till, command)
	}
	hour, stop := context.WithTimeout(ctx, time.Hour)
	t.Cleanup(stop)
	for _, start := range []func() error{
		func() error { _, err := edict.Start(hour, till, pay{Account: "A-1"}); return err },
		func() error { _, err := edict.Start(ctx, till, pay{Account: "A-1"}); return err },
		func() error { _, err := edict.StartStream(ctx, stock, watch{}); return err },
	} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // some hundreds of calls a second
		group.Go(func() {
			for ctx.Err() == nil {
				_, _ = edict.Call(ctx, till, order{Item: "tea"})
				for range 3 {
					_, _ = edict.Call(ctx, stock, price{Item: "tea"})
				}
			}
		})
	}
	return server
}

// browse opens a browser, which is closed at the end of the test.
func browse(t *testing.T) context.Context {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("this test looks at the debug page with chromium, which is not installed: " +
			"run apt-get install chromium (as root; .ci/run does it), then test again")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1240, 1000),
		chromedp.Flag("no-sandbox", true), chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until it has ended, so that its folder can be removed
		cancel()
	})
	if err := chromedp.Do(ctx); err != nil { // the browser lives as long as the context of the first Do
		t.Fatalf("chromium does not start: %v", err)
	}
	ctx, end := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(end)
	return ctx
}

// observed is what the browser has done beside showing the page.
type observed struct {
	mu        sync.Mutex
	requested []string
	problems  []string
}

func (o *observed) see(event any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		o.requested = append(o.requested, event.Request.URL)
	case *page.EventJavascriptDialogOpening:
		o.problems = append(o.problems, "a dialog: "+event.Message)
	case *runtime.EventExceptionThrown:
		o.problems = append(o.problems, event.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		o.problems = append(o.problems, "console: "+string(event.Type))
	}
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// The page shows what the server does, and goes on doing so; it asks nobody else for anything, and runs nothing that
// a client has sent.
func TestThePageInABrowser(t *testing.T) {
	web := httptest.NewServer(http.StripPrefix("/debug", edictdebug.Handler(startShop(t))))
	defer web.Close()
	ctx := browse(t)
	var seen observed
	if err := chromedp.Listen(ctx, seen.see); err != nil {
		t.Fatal(err)
	}
	do := func(action chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, action); err != nil {
			t.Fatal(err)
		}
	}
	// until waits for what a script sees.
	until := func(expression string) {
		t.Helper()
		do(chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond)))
	}
	text := func(selector string) string { return "document.querySelector('" + selector + "').textContent" }
	do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
		return err
	}))
	do(chromedp.Navigate(web.URL + "/debug/"))
	until(text("#live") + " == 'live' && " + text("#rate") + ".includes('at most')")
	until("(document.getElementById('line').getAttribute('d').match(/L/g) || []).length >= 5") // some seconds
	title, tables := evaluate[string](t, ctx, "document.title"), evaluate[string](t, ctx, text("#tables"))
	histograms := evaluate[int](t, ctx, "document.querySelectorAll('.histogram rect').length")
	connections := evaluate[int](t, ctx, "Number("+text("#connections")+")")
	if title != "shop-1 · Edict" || histograms < 5 || connections != 2 {
		t.Errorf("title %q, %d bars, %d connections", title, histograms, connections)
	}
	for _, wanted := range []string{"pay", "turn", "running", "credit", "command.panicked", "auth.refused", "till-4", "<img src=x onerror=alert(1)>", "59m"} {
		if !strings.Contains(tables, wanted) {
			t.Errorf("the page does not show %q", wanted)
		}
	}
	for _, secret := range []string{"sesame-open", "crook-open"} {
		if strings.Contains(tables, secret) {
			t.Errorf("the page shows %q", secret)
		}
	}
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if config, err := png.DecodeConfig(bytes.NewReader(picture)); err != nil || config.Width < 1200 || config.Height < 700 {
		t.Errorf("a picture of %d x %d, %v", config.Width, config.Height, err)
	}
	if target := os.Getenv("EDICT_SCREENSHOT"); target != "" {
		if err := os.WriteFile(target, smaller(t, picture), 0o644); err != nil {
			t.Error(err)
		}
	}

	// Paused, it asks no more; then it goes on; and it says when there is no answer.
	click := "document.getElementById('pause').click()"
	do(chromedp.Evaluate[chromedp.Void](click))
	until(text("#live") + " == 'paused'")
	do(chromedp.Evaluate[chromedp.Void](click))
	until(text("#live") + " == 'live'")
	web.CloseClientConnections()
	_ = web.Listener.Close()
	until(text("#live") + ".startsWith('no answer')")
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for _, url := range seen.requested {
		if !strings.HasPrefix(url, web.URL+"/debug/") && !strings.HasSuffix(url, "/favicon.ico") {
			t.Errorf("the page asked for %s", url)
		}
	}
	if len(seen.requested) < 5 || len(seen.problems) > 0 {
		t.Errorf("%d requests; %q", len(seen.requested), seen.problems)
	}
}

// smaller returns a picture with its 255 most frequent colours, which is a third of the size.
func smaller(t *testing.T, picture []byte) []byte {
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	counts := map[color.Color]int{}
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return counts[b] - counts[a] })
	paletted := image.NewPaletted(bounds, colours[:min(len(colours), 255)])
	draw.Draw(paletted, bounds, full, bounds.Min, draw.Src)
	var encoded bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&encoded, paletted); err != nil {
		t.Fatal(err)
	}
	return encoded.Bytes()
}
