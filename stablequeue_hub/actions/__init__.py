"""What people and servers do, one function each: it changes the store in one transaction, then tells every
part of the hub that has to know. The API, the page and the old contract call it, and repeat none of it."""
