#ifndef KDN_RDMACM_SHIM_H
#define KDN_RDMACM_SHIM_H
#include <rdma/rdma_cma.h>
#endif
