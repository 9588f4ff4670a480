"""One password in every kind of hash that an htpasswd file may hold, made by other programs.

By libcrypt (Debian 12), OpenSSL, and for {SSHA} and {SHA} by hand; nginx takes each of them.
"""

from registryui.accounts.htpasswd import Kind

PASSWORD = "correct horse"

OF_EACH_KIND: dict[str, Kind] = {
    "{SSHA}ua6N/fCd4la954HsMzWu42bRsfJhYmNkZWZnaA==": Kind.SSHA,
    "{SSHA}L55TUjtiq8FBorTWAZ0jy6g129A=": Kind.SSHA,  # without salt
    "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=": Kind.SHA,
    "{PLAIN}correct horse": Kind.PLAIN,
    "$2a$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2": Kind.BCRYPT,
    "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2": Kind.BCRYPT,
    "$2x$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2": Kind.BCRYPT,
    "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2": Kind.BCRYPT,
    "$y$j9T$abcdefgh$4mqd6JVlUo/.JMgenptcdPqIowfqDPoC9lSyWQhPMf1": Kind.YESCRYPT,
    "$gy$j9T$abcdefgh$yhoLJn0JpE7C2QxfG8fCICu.Z3PJY/dhTuRqn7Sv6i/": Kind.YESCRYPT,
    "$7$CU..../....abcdefgh$zsdaqwx89mPOv8.UAUJOC7yCeca1WUSV.qqzsN2U1JA": Kind.YESCRYPT,
    "$6$rounds=1000$abcdefgh$DbXqPck5ABZumVXwcH5eMVHsPZwvQ3jylSxpJmKkZVxcoCiC3N0rPerjHmAqL7r6"
    "PK6CIeYnO9.vxpbsevscg/": Kind.SHA512,
    "$5$abcdefgh$ruMep1ijHnJPZbETDNiumskxcX3kN4lzZd5VlsqE7eB": Kind.SHA256,
    "$apr1$abcdefgh$sIQmFnT1CuEXAsyjuXjUX/": Kind.APR1,
    "$1$abcdefgh$y6iHhJNbuC0xpbk0w9pm80": Kind.MD5,
    "abhfCpXqd4GrI": Kind.DES,
    "$sha1$100$abcdefgh$5WnrdgFiVw7wF5odD5qEsDE/Tbbz": Kind.RARE,
    "$md5$abcdefgh$$A8TL8sY7.pGvXG33VEUpT0": Kind.RARE,
    "$md5,rounds=5$abcdefgh$$QiouO51TFtbrW/AZc7iZB0": Kind.RARE,
    "_J9..abcdtIvPUrZYa6w": Kind.RARE,
    "$3$$cfc43211ba8dc470832267827cac1407": Kind.RARE,
    "abhfCpXqd4GrInxrhqmWdyeY": Kind.RARE,
}

# Of the same password, in forms that nginx does not take.
OF_NO_KIND = (
    "",
    "correct horse",
    "abcdefgh",
    "*",
    "!",
    "x",
    "{SSHA}",
    "{SHA}",
    "{ssha}ua6N/fCd4la954HsMzWu42bRsfJhYmNkZWZnaA==",
    "{SSHA}ua6N/fCd4la954HsMzWu42bRsfJhYmNkZWZnaA",
    "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A",
    "{MD5}ZgUIhuCWgZKq28OkSDBc0Q==",
    "2f9e53523b62abc141a2b4d6019d23cba835dbd0",
)
