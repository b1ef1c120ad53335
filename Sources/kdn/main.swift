KDNCommand.main()
