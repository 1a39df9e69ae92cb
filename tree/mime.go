package tree

import (
	"cmp"
	"strings"
)

// MimeOf returns the media type that goes with a file name, by its extension in any case; nil if none is known. The
// types are those of the original (mime_guess 2.0.5), for the most common extensions; text/x-rust and the like are no
// mistakes. The system's own tables are not used, so that a tree has the same types wherever it was made.
func MimeOf(name string) *string {
	i := strings.LastIndexByte(name, '.')
	if i < 1 { // a name that begins with its only dot has no extension
		return nil
	}
	ext := strings.ToLower(name[i+1:])
	t := cmp.Or(textType(ext), audioType(ext), imageType(ext), videoType(ext),
		packedType(ext), documentType(ext), dataType(ext))
	if t == "" {
		return nil
	}
	return &t
}

func textType(ext string) string {
	switch ext {
	case "asm", "bas", "c", "cc", "cfg", "cmd", "cnf", "conf", "cpp", "cs", "csproj", "cxx", "def", "h", "hh", "hpp", "hxx",
		"i", "idl", "in", "inc", "ini", "list", "log", "lst", "mak", "map", "mk", "py", "rc", "reg", "s", "sln", "sol", "text",
		"txt", "vb", "vcs":
		return "text/plain"
	case "appcache":
		return "text/cache-manifest"
	case "coffee", "litcoffee":
		return "text/coffeescript"
	case "css":
		return "text/css"
	case "csv":
		return "text/csv"
	case "ecma", "es", "js", "jsm", "jsx":
		return "text/javascript"
	case "f", "f77", "f90", "for":
		return "text/x-fortran"
	case "gv":
		return "text/vnd.graphviz"
	case "htm", "html", "shtml":
		return "text/html"
	case "ics", "ifb":
		return "text/calendar"
	case "less":
		return "text/less"
	case "lua":
		return "text/x-lua"
	case "markdown", "md":
		return "text/markdown"
	case "rs":
		return "text/x-rust"
	case "sass":
		return "text/x-sass"
	case "scss":
		return "text/x-scss"
	case "sgm", "sgml":
		return "text/sgml"
	case "toml":
		return "text/x-toml"
	case "tsv":
		return "text/tab-separated-values"
	case "ttl":
		return "text/turtle"
	case "vcard":
		return "text/vcard"
	case "vcf":
		return "text/x-vcard"
	case "vtt":
		return "text/vtt"
	case "addin", "disco", "dtd", "wsdl", "xml", "xsd", "xsf", "xsl", "xslt":
		return "text/xml"
	case "yaml", "yml":
		return "text/x-yaml"
	}
	return ""
}

func audioType(ext string) string {
	switch ext {
	case "aac", "adts":
		return "audio/aac"
	case "ac3", "flac", "m4a", "m4b", "m4p":
		return "audio/" + ext
	case "aif", "aifc", "aiff":
		return "audio/aiff"
	case "mka":
		return "audio/x-matroska"
	case "mid", "midi", "rmi":
		return "audio/mid"
	case "m3u", "m3u8":
		return "audio/x-mpegurl"
	case "m2a", "m3a", "mp2", "mp2a", "mp3", "mpga":
		return "audio/mpeg"
	case "oga", "ogg", "opus", "spx":
		return "audio/ogg"
	case "wav", "wave":
		return "audio/wav"
	case "weba":
		return "audio/webm"
	case "wma":
		return "audio/x-ms-wma"
	}
	return ""
}

// imageType is for pictures and the letters of fonts.
func imageType(ext string) string {
	switch ext {
	case "apng", "avif", "bmp", "gif", "heic", "heif", "ief", "jp2", "jxl", "ktx", "png", "sgi", "webp":
		return "image/" + ext
	case "djv", "djvu":
		return "image/vnd.djvu"
	case "ico":
		return "image/x-icon"
	case "jfif", "jpe", "jpeg", "jpg":
		return "image/jpeg"
	case "svg", "svgz":
		return "image/svg+xml"
	case "tga":
		return "image/x-tga"
	case "tif", "tiff":
		return "image/tiff"
	case "otf":
		return "application/font-sfnt"
	case "ttc":
		return "font/collection"
	case "ttf", "woff2":
		return "font/" + ext
	case "woff":
		return "application/font-woff"
	}
	return ""
}

func videoType(ext string) string {
	switch ext {
	case "3gp", "3gpp":
		return "video/3gpp"
	case "avi":
		return "video/x-msvideo"
	case "flv", "f4v", "m4v":
		return "video/x-" + ext
	case "m2t", "m2ts", "mts", "ts":
		return "video/vnd.dlna.mpeg-tts"
	case "m1v", "m2v", "mpa", "mpe", "mpeg", "mpg":
		return "video/mpeg"
	case "mk3d", "mks", "mkv":
		return "video/x-matroska"
	case "mov", "qt":
		return "video/quicktime"
	case "mp4", "mp4v", "mpg4":
		return "video/mp4"
	case "ogv":
		return "video/ogg"
	case "webm":
		return "video/webm"
	case "wmv":
		return "video/x-ms-wmv"
	}
	return ""
}

// packedType is for archives, packages and programs.
func packedType(ext string) string {
	switch ext {
	case "bin", "buffer", "cab", "dat", "deb", "dist", "dmg", "dump", "exe", "img", "iso", "java", "msi", "pkg", "psd", "so":
		return "application/octet-stream"
	case "7z":
		return "application/x-7z-compressed"
	case "apk":
		return "application/vnd.android.package-archive"
	case "bat", "com", "dll":
		return "application/x-msdownload"
	case "boz", "bz2":
		return "application/x-bzip2"
	case "bz":
		return "application/x-bzip"
	case "class":
		return "application/x-java-applet"
	case "cpio", "csh", "gtar", "sh", "shar", "tar", "tcl", "tex", "xz":
		return "application/x-" + ext
	case "ear", "jar", "war":
		return "application/java-archive"
	case "gz":
		return "application/gzip"
	case "pl", "pm":
		return "application/x-perl"
	case "rar":
		return "application/x-rar-compressed"
	case "tgz":
		return "application/x-compressed"
	case "wasm", "zip":
		return "application/" + ext
	case "z":
		return "application/x-compress"
	}
	return ""
}

// documentType is for what office programs and readers open.
func documentType(ext string) string {
	const (
		openXML      = "application/vnd.openxmlformats-officedocument."
		openDocument = "application/vnd.oasis.opendocument."
	)
	switch ext {
	case "ai", "eps", "ps":
		return "application/postscript"
	case "azw":
		return "application/vnd.amazon.ebook"
	case "doc", "dot":
		return "application/msword"
	case "docx":
		return openXML + "wordprocessingml.document"
	case "dotx":
		return openXML + "wordprocessingml.template"
	case "epub":
		return "application/epub+zip"
	case "latex":
		return "application/x-latex"
	case "mobi", "prc":
		return "application/x-mobipocket-ebook"
	case "odg":
		return openDocument + "graphics"
	case "odp":
		return openDocument + "presentation"
	case "ods":
		return openDocument + "spreadsheet"
	case "odt":
		return openDocument + "text"
	case "pdf", "rtf":
		return "application/" + ext
	case "pot", "pps", "ppt":
		return "application/vnd.ms-powerpoint"
	case "ppsx":
		return openXML + "presentationml.slideshow"
	case "pptx":
		return openXML + "presentationml.presentation"
	case "vsd":
		return "application/vnd.visio"
	case "xls", "xlt":
		return "application/vnd.ms-excel"
	case "xlsx":
		return openXML + "spreadsheetml.sheet"
	case "xltx":
		return openXML + "spreadsheetml.template"
	}
	return ""
}

// dataType is for what programs exchange.
func dataType(ext string) string {
	switch ext {
	case "accdb", "mde":
		return "application/msaccess"
	case "asc", "sig":
		return "application/pgp-signature"
	case "atom", "gpx", "rdf", "rss", "smil", "xhtml":
		return "application/" + ext + "+xml"
	case "cer", "crt", "der", "pem":
		return "application/x-x509-ca-cert"
	case "config", "resx", "settings":
		return "application/xml"
	case "crl":
		return "application/pkix-crl"
	case "eml", "mht", "mhtml", "mime":
		return "message/rfc822"
	case "geojson":
		return "application/geo+json"
	case "json", "json5", "mbox":
		return "application/" + ext
	case "jsonld":
		return "application/ld+json"
	case "kml":
		return "application/vnd.google-earth.kml+xml"
	case "mjs":
		return "application/javascript"
	case "parquet":
		return "application/vnd.apache.parquet"
	case "p12", "pfx":
		return "application/x-pkcs12"
	case "pgp":
		return "application/pgp-encrypted"
	case "php":
		return "application/x-httpd-php"
	case "sql":
		return "application/x-sql"
	case "srt":
		return "application/x-subrip"
	case "torrent":
		return "application/x-bittorrent"
	case "webmanifest":
		return "application/manifest+json"
	}
	return ""
}
