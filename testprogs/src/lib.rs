//! Guest images, embedded.
