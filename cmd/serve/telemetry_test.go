package serve

import (
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/cmd/config"
)

// TestI6_BadCollectorsAreRefusedAndNotShown: the exporters would log the address and
// export nothing.
func TestI6_BadCollectorsAreRefusedAndNotShown(t *testing.T) {
	for _, address := range []string{"http://u:c4n4ry@h:4317", "http://u:c4n4ry@h:port", "c4n4ry:4317", "ftp://c4n4ry", "http:///c4n4ry", "://c4n4ry"} {
		telemetry, err := NewTelemetry(t.Context(), config.Telemetry{OTLP: address}, "test")
		if err == nil || telemetry != nil || !strings.Contains(err.Error(), "telemetry.otlp: want http(s)://host:port") || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
