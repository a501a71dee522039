"""Does `peerdiscover doctor` find each mistake, and nothing else?"""
