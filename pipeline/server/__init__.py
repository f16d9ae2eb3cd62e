"""Real OpenAI servers: starting one, and replaying workloads against one."""
