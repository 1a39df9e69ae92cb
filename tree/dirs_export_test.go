package tree

// What only whole trees show: the file of permissions, and the limit on files.
var (
	LoadAtMost = load
	EncodeDirs = encodeDirs
	DecodeDirs = decodeDirs
)

const DirsFile = dirsFile
