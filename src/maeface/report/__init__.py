"""What people look at: pictures, charts and a page that opens by itself. No torch here."""
