#ifndef KDN_PLATFORM_H
#define KDN_PLATFORM_H
#include "memory.h"
#include "sockets.h"
#endif
