"""What is known about running a trained model: graphs, backends, timings."""
