"""Jobs on a host: their model, and the requests that submit, watch and end them."""
