create database litellm;
create database orchestrator;
