"""Mutation testing of the parts that decide: would a test notice if a line of them were wrong?"""
