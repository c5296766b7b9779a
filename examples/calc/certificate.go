package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// makeCertificate is how to get files for -cert and -key to try things with.
const makeCertificate = `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem`

// prepareTLS makes the TLS configurations from the files of -cert, -key and -ca. A server and a
// client in one process need no files: they use a certificate that is made for the occasion.
func (s *settings) prepareTLS() error {
	switch {
	case s.connect && s.authority == "":
		return errors.New("-connect with tls:// needs -ca FILE: the server's certificate, or that of who signed it")
	case (s.certificate == "") != (s.key == ""):
		return errors.New("-cert and -key belong together")
	case s.serve && s.certificate == "":
		return errors.New("-serve with tls:// needs -cert FILE and -key FILE. This makes two to try it with:\n\n  " + makeCertificate)
	}
	if s.connect {
		roots, err := loadRoots(s.authority)
		s.clientTLS = &tls.Config{RootCAs: roots}
		return err
	}
	if s.certificate != "" {
		certificate, err := tls.LoadX509KeyPair(s.certificate, s.key)
		if err != nil {
			return err
		}
		s.serverTLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		if s.serve {
			return nil
		}
		roots, err := loadRoots(s.certificate)
		s.clientTLS = &tls.Config{RootCAs: roots}
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	s.serverTLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.clientTLS = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	s.clientTLS.RootCAs.AddCert(certificate.Leaf)
	return nil
}

func loadRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return roots, nil
}

// selfSigned returns a certificate for localhost that is valid for an hour.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
