//! Names of the mesh on a whole host: namespaces of network and files, real resolvers and the
//! programs that keep a host's configuration.

mod answers;
mod file;
mod resolvconf;
mod resolved;
mod world;
