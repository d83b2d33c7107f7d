//! Parsers of request bodies, fed as a stream and bounded: form fields, multipart, JSON and XML.
