"""What a real CoreDNS answered, and the script that asked it."""
