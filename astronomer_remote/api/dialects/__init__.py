"""How each generation of Airflow's REST API is spoken: intent to request, reply to model. Nothing here sends."""
