import KDNCore
