#ifndef KDN_LZ4_SHIM_H
#define KDN_LZ4_SHIM_H
#include <lz4.h>
#include <lz4hc.h>
#endif
