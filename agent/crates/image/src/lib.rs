//! Images on this device.

#![forbid(unsafe_code)]

mod catalog;
mod codec;
mod config;
mod manifest;
mod progress;
mod tar;
mod layer;
mod registry;
mod space;
mod staging;
mod stream;
mod unpack;
mod usage;
