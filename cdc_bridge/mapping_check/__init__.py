"""From a mapping file to everything that is wrong with it: line, problem and correction of each fault.

PostgreSQL alone judges the SQL; here the text is split only as far as it takes to say where a fault is, and to go on
behind it. A parser in a library would know another version's grammar than the server has, and the one that is made from
PostgreSQL's own is published under the GPL; so there is a tokenizer of PostgreSQL's lexical rules instead.
"""
