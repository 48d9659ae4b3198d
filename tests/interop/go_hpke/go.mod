module hpke-driver

go 1.26
