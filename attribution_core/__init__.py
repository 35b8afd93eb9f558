"""SampleScope: what does each training example do?"""
