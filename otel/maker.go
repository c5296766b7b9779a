package edictotel

import "go.opentelemetry.io/otel/metric"

// maker makes instruments, and collects what goes wrong with that.
type maker struct {
	meter    metric.Meter
	problems []error
	observed []metric.Observable // those made since the last callback
}

func (m *maker) note(err error) {
	if err != nil {
		m.problems = append(m.problems, err)
	}
}

func (m *maker) counter(name, unit, description string) metric.Int64ObservableCounter {
	i, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	m.observed = append(m.observed, i)
	return i
}

func (m *maker) number(name, unit, description string) metric.Int64ObservableUpDownCounter {
	i, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	m.observed = append(m.observed, i)
	return i
}

func (m *maker) gauge(name, unit, description string) metric.Float64ObservableGauge {
	i, err := m.meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	m.observed = append(m.observed, i)
	return i
}

func (m *maker) histogram(name, unit, description string) metric.Int64Histogram {
	i, err := m.meter.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.note(err)
	return i
}

// callback registers what observes the instruments made since the last one.
func (m *maker) callback(observe metric.Callback) {
	_, err := m.meter.RegisterCallback(observe, m.observed...)
	m.note(err)
	m.observed = nil
}
