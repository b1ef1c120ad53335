#ifndef KDN_IBVERBS_SHIM_H
#define KDN_IBVERBS_SHIM_H
#include <infiniband/verbs.h>
#endif
