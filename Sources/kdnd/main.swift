import KDNServer

KDNDaemon.main()
