class Metric:
    def __init__(self, key, value, timestamp, step):
        self.pair = (key, value, step)


class Param:
    def __init__(self, key, value):
        self.pair = (key, value)
