// Dex, with everything kept in memory: `dex ISSUER LISTEN CLIENT SECRET REDIRECT`. Its connector is Dex's own for tests, which lets
// one person in, Kilgore Trout of the group "authors".
//
// Dex's own main program is not used because it cannot be built from the module proxy: what it stores in SQL needs a package at a
// commit that the proxy does not have. The server, which is what is tried here, is Dex's.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/dexidp/dex/server"
	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/memory"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

func main() {
	issuer, listen, client, secret, redirect := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	log := logrus.New()
	kept := storage.WithStaticClients(memory.New(log), []storage.Client{
		{ID: client, Secret: secret, RedirectURIs: []string{redirect}, Name: "Samdrift"},
	})
	kept = storage.WithStaticConnectors(kept, []storage.Connector{
		{ID: "mock", Type: "mockCallback", Name: "Authors"},
	})
	dex, err := server.NewServer(context.Background(), server.Config{
		Issuer:             issuer,
		Storage:            kept,
		SkipApprovalScreen: true,
		IDTokensValidFor:   5 * time.Minute,
		Web:                server.WebConfig{Dir: filepath.Clean(os.Getenv("DEX_WEB"))},
		Logger:             log,
		PrometheusRegistry: prometheus.NewRegistry(),
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(listen, dex))
}
