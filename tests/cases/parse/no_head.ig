%a = [1, 2, 3]
%b = neg(%a)
%c = nge(%b)
save %c as "c"
