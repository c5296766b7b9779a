package auth

import (
	"context"
	"crypto/x509"
	"net/url"
	"strings"

	"github.com/edict-go/edict/core"
)

// Identity is who a client is by its certificate. It is the Value of a principal of [MutualTLS].
type Identity struct {
	// Certificate is the client's own, which was verified: its Subject, DNSNames, EmailAddresses,
	// IPAddresses and URIs are what the authority vouches for. Not to be changed.
	Certificate *x509.Certificate
	// SPIFFE is the SPIFFE ID, as in "spiffe://example.org/till", empty if the certificate has no
	// valid one. A valid one is the only URI in its certificate.
	SPIFFE string
}

// Name returns the SPIFFE ID; without one the subject, as in "CN=till,O=Bank"; without that the first DNS
// name, as in "DNS:till.example.org"; and "" if there is none of them.
func (i Identity) Name() string {
	subject := i.Certificate.Subject.String()
	switch {
	case i.SPIFFE != "":
		return i.SPIFFE
	case subject != "":
		return subject
	case len(i.Certificate.DNSNames) > 0:
		return "DNS:" + i.Certificate.DNSNames[0]
	}
	return ""
}

// MutualTLS returns an Authenticator for clients with a certificate that the TLS handshake has verified:
// the server's tls.Config needs ClientCAs and the ClientAuth VerifyClientCertIfGiven or
// RequireAndVerifyClientCert. Without verification a certificate counts for nothing.
//
// check may turn an identity away by returning an error, as [TrustDomain] does; nil lets in everyone
// that the authorities vouch for. The principal has the Scheme "mtls", the identity's Name, and the
// [Identity] as its Value.
func MutualTLS(check func(Identity) error) Authenticator {
	return func(_ context.Context, credentials Credentials) (core.Principal, error) {
		state := credentials.TLS
		switch {
		case state == nil || len(state.PeerCertificates) == 0:
			return core.Principal{}, ErrNoCredentials.With("a client certificate is needed")
		case len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0:
			return core.Principal{}, core.Errorf(core.Unauthenticated, "the client certificate is not verified")
		}
		certificate := state.VerifiedChains[0][0]
		identity := Identity{Certificate: certificate, SPIFFE: spiffeID(certificate)}
		if identity.Name() == "" {
			return core.Principal{}, core.Errorf(core.Unauthenticated, "the client certificate names nobody")
		}
		if check != nil {
			if err := check(identity); err != nil {
				return core.Principal{}, err
			}
		}
		return core.Principal{Scheme: "mtls", Name: identity.Name(), Value: identity}, nil
	}
}

// TrustDomain returns a check for [MutualTLS] that lets in clients whose SPIFFE ID is in one of these
// trust domains, as in "example.org".
func TrustDomain(domains ...string) func(Identity) error {
	return func(identity Identity) error {
		rest, found := strings.CutPrefix(identity.SPIFFE, "spiffe://")
		domain, _, _ := strings.Cut(rest, "/")
		for _, allowed := range domains {
			if found && domain == allowed {
				return nil
			}
		}
		return core.Errorf(core.PermissionDenied, "the client certificate has no SPIFFE ID of a trusted domain")
	}
}

const maxSPIFFE = 2048

// spiffeID returns the SPIFFE ID of a certificate, "" if it has no valid one.
func spiffeID(certificate *x509.Certificate) string {
	if len(certificate.URIs) != 1 {
		return "" // none, or several, which the standard does not allow
	}
	uri := certificate.URIs[0]
	id := uri.String()
	if len(id) > maxSPIFFE || certificate.IsCA || !isSPIFFE(uri) {
		return ""
	}
	return id
}

// isSPIFFE reports whether uri may name a workload: spiffe://domain/path, without anything else, in
// characters that need no escape.
func isSPIFFE(uri *url.URL) bool {
	plain := uri.User == nil && uri.RawQuery == "" && !uri.ForceQuery && uri.Fragment == "" && uri.Opaque == "" && uri.RawPath == ""
	if uri.Scheme != "spiffe" || !plain || !strings.HasPrefix(uri.Path, "/") || !onlyOf(uri.Host, lower+digits+"._-") {
		return false
	}
	for segment := range strings.SplitSeq(uri.Path[1:], "/") {
		if segment == "." || segment == ".." || !onlyOf(segment, lower+upper+digits+"._-") {
			return false
		}
	}
	return true
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// onlyOf reports whether text is made of these characters, and not empty.
func onlyOf(text, characters string) bool { return text != "" && strings.Trim(text, characters) == "" }
