package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// writeCertificate makes a certificate for 127.0.0.1 that is good for a day, and writes it to a file
// with its key.
func writeCertificate(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edict soak"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	encodedKey, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	var file bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "EC PRIVATE KEY", Bytes: encodedKey}} {
		if err := pem.Encode(&file, block); err != nil {
			return err
		}
	}
	return os.WriteFile(path, file.Bytes(), 0o600)
}

// loadCertificate returns the configurations of a server that has the certificate in a file and of a
// client that trusts it and nothing else.
func loadCertificate(path string) (server, client *tls.Config, err error) {
	pair, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, nil, err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(file) {
		return nil, nil, errors.New(path + " has no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}, &tls.Config{RootCAs: trusted}, nil
}
