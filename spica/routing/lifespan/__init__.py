"""Run the lifespans of an application, its routers and the applications that they mount."""
