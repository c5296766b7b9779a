// Package browsertest looks at the debug page in a real browser, without a window. It is a module of its own, so that
// whoever uses Edict compiles nothing that drives browsers.
//
// The browser is Debian's chromium: apt-get install chromium. .ci/run does that if it is missing.
//
// EDICT_SCREENSHOT=../../docs/debug-page.png go test . makes the picture of docs/operating.md anew.
package browsertest
