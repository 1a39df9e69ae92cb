package natstest

// OutBytes returns how many bytes a running server has sent to its clients since it was started, as it counts itself.
func (s *Server) OutBytes() int64 {
	s.tb.Helper()
	v, err := s.run.Varz(nil)
	if err != nil {
		s.tb.Fatalf("counters of the NATS server: %v", err)
	}
	return v.OutBytes
}
