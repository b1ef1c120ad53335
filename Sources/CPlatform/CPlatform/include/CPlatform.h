#ifndef KDN_PLATFORM_H
#define KDN_PLATFORM_H
#include "files.h"
#include "memory.h"
#include "process.h"
#include "sockets.h"
#endif
