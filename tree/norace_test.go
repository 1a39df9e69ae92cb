//go:build !race

package tree_test

// raceDetector reports whether the tests run under the race detector, which makes ciphers ten times slower.
const raceDetector = false
