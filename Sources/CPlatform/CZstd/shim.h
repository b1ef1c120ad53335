#ifndef KDN_ZSTD_SHIM_H
#define KDN_ZSTD_SHIM_H
#include <zstd.h>
#endif
